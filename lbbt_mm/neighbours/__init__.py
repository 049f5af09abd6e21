"""What other libraries do not promise and is used here, a module for each of them.

A private name stands in the module's ``PRIVATE``, whoever uses it;
``tests/test_neighbours.py`` fails with its place when the library renames it, and when
a private name is used here that is not listed. What several rooms ask for is a function
here.
"""
