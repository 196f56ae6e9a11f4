"""`gradscope try`: the script as it is, and again with each advice applied from outside, compared."""
