"""How the bundled and the compiled models were made; no other room imports it."""
