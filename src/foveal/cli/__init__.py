"""The command `foveal`: a module for each group of commands. A command parses, calls one library function, and prints.

`main.py` has the tree, and is where an error becomes one line and an exit status; `output.py` is the one that prints.
"""
