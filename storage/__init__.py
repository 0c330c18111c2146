"""What is true: people, prompts, completions, answers, runs and versions, in one DuckDB file.

The only package that speaks SQL. It imports neither the pipeline nor the pages.
"""
