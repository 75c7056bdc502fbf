insert into tidemill._migrations (number, name, breaking)
values (%(number)s, %(name)s, %(breaking)s);
