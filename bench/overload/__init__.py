"""More requests than the server can answer: what it refuses, what it still answers, and after."""
