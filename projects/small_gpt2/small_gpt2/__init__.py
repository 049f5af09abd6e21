"""A small GPT-2 trained from English text; see README.md beside this folder."""
