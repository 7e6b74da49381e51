"""The checker of what was handed in. A folder goes one way through it:

files/walk (whose files lie where) -> files/slots (which file is which) -> reading (what each holds) -> the CHECKS of
one submission (numbers, words, figures) -> people/across (submissions beside each other) -> report -> pages.
"""
