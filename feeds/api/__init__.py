"""The HTTP API: doors that take ids and text in, call one story of the floors below, and shape the answer as JSON."""
