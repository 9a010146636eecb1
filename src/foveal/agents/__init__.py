"""Foveal as tools of assistants and editors, by the Model Context Protocol: `foveal mcp`, and /mcp of a served site.

tools       the table: each tool's name, words, arguments (asked.py), result (shapes.py) and function
library_tools, answering_tools, paper_tools     the functions: each calls one of the library, and gives it its shape
place       what a tool works on: home.py (a home, one person) or site.py (a served site, with accounts and limits)
server      the protocol's side, the same for both; resources.py: documents and papers by address
threads     calls side by side in threads: how far they are, stopping them, turns of the model
stdio, http the two ways in

Nothing heavy is imported before a tool needs it; the protocol itself is of the package `mcp` (the extra of that name).
"""
