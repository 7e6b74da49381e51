"""What the instructor and the students get to read."""
