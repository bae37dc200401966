"""The page as a file, which shows and answers without a kernel."""
