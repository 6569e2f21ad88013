"""Operations on arrays that cells, layers and models share: masks, token ids, products, paths."""
