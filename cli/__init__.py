"""The `weighbridge` command: one file for each group of commands; `__main__` turns mistakes into one line and a status."""
