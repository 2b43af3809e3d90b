"""Pages for students and instructors: they stand alone, run no script and load nothing."""
