-- What is installed, so that every start can tell in one look.

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
