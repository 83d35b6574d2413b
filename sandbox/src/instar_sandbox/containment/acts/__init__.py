"""What a hostile program tries. Each act is a function of the world as it sees it and of the rest of its order.

An act that gets its way returns what it got. One that is refused to its face raises OSError. Everything is imported
when these modules are: behind the walls nothing can be.
"""
