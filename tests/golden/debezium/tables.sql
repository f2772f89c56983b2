-- The tables of the recorded messages, and what their snapshot reads.
create type mood as enum ('fine', 'so-so');
create table everything (
  id bigint primary key, small smallint, whole integer, real4 real, real8 double precision,
  price numeric(12,2), rate numeric, active boolean, name text, code varchar(20), uid uuid,
  photo bytea, bits bit(9), feeling mood, data jsonb, day date, wakes time, wakes_ms time(3),
  wakes_tz timetz, seen timestamp, seen_ms timestamp(3), seen_tz timestamptz, span interval,
  tags text[], scores integer[], ip inet);
create table orders (id bigint primary key, customer bigint, note text);
create table long_values (
  id integer primary key, counter integer, note text, photo bytea, tags text[], scores integer[],
  bigs bigint[], uids uuid[], data jsonb);
alter table long_values alter note set storage external, alter photo set storage external,
  alter tags set storage external, alter scores set storage external,
  alter bigs set storage external, alter uids set storage external, alter data set storage external;
create table whole_before (id integer primary key, note text);
alter table whole_before replica identity full;
insert into everything (id, name) values (1, 'of the snapshot');
insert into orders values (1, 1, 'first'), (2, 1, 'last');
