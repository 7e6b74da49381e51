"""What a README says, held against the files."""
