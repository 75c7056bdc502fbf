drop schema if exists tidemill_demo cascade;
create schema tidemill_demo;
create table tidemill_demo.user_emails (
  id integer generated always as identity primary key,
  email text not null,
  verified boolean not null default false,
  verification_sent_at timestamptz
);
