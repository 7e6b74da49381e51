"""Pictures that are blank, twice there, or show what they should not."""
