"""Grafana as code: what the fleet's people see, rendered to JSON and deployed by one command.

`queries` says what is asked, `fleet` how it is shown, `render` turns both into the JSON that Grafana reads, `deploy` brings
it there, and `check` finds a metric or column that does not exist.
"""
