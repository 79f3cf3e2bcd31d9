"""The town: many small worlds of needs, jobs, queues and ties, as arrays; it does not know who learns in it."""
