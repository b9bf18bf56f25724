"""How the book is made: notebooks run, pages rendered, assets fetched, a PDF printed."""
