//! Texts the parser refuses, with the words and positions of stock.
