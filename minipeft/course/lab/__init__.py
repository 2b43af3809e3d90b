"""What a lesson does in a notebook: start, train, predict, figure, explore, quiz.

Lessons import all of it from `minipeft.course`.
"""
