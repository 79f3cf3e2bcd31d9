"""What people look at: a recorded day of the town as a page that plays it, and as pictures."""
