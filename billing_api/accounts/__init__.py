"""Who uses the fleet: tenants, their teams and users. Whoever is suspended is refused by every proxy within a second."""
