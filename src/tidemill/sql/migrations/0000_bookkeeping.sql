-- What is installed, so that every start can tell in one look.

-- An administrator may have made the schema for a role that may not; IF NOT EXISTS asks for the right first.
do $$
begin
  if to_regnamespace('tidemill') is null then
    create schema tidemill;
  end if;
end
$$;

create table tidemill._migrations (
  number integer primary key,
  name text not null,
  breaking boolean not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table tidemill._migrations is
  'Migrations applied. breaking: workers that do not know it must not run.';

create table tidemill._installed (
  part text primary key,
  version integer[] not null,
  hash text,
  installed_at timestamptz not null default clock_timestamp()
);
comment on table tidemill._installed is
  'The functions and each dialect: which version laid them. hash NULL: dropped on request, not to be laid again.';
