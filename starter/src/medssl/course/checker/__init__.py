"""The checker of what was handed in. A folder goes one way through it:

walk (whose files lie where) -> slots (which file is which) -> reading (what each holds) -> CHECKS of one submission ->
across (submissions beside each other) -> Report -> page, gradebook, feedback.
"""
