"""Answers over a company's own documents, with citations. Nothing is imported or read until it is used."""
