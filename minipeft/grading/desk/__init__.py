"""The instructor's side: the folder of one grading, points by hand, lateness, tables, pages."""
