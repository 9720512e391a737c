"""What the application keeps: studies, analyses and readers' feedback, in SQLite or PostgreSQL."""
