//! Complaints of stock, and the form the executor gets.
