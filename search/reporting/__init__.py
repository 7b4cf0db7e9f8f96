"""Reading a search: what it found, how sure that is, what it cost, as a page, tables and numbers."""
