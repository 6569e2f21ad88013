"""What is made of rows: tables, pictures, the page of results, and comparisons of two runs."""
