"""Operations on arrays: each has a forward and a backward."""
