"""The circuit beside another one: the tab, what it says, and the same in Python."""
