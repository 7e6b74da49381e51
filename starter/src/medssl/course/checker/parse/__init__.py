"""From bytes, names and text to values. Nothing here knows a slot, a submission or another person."""
