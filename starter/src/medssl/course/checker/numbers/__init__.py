"""Numbers held against predictions, against the official images, against each other."""
