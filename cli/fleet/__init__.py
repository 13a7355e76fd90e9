"""A fleet file: tenants, teams, users, plans, limits and price books under version control, and how it is made true.

`document` reads YAML and knows the line of everything, `schema` says what a file may hold, `reading` joins the two. `things`
turns a file into what the API should have, `current` is what it has, `difference` compares them, `making` does what is left.
"""
