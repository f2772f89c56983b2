-- What is streamed, in this order. \! runs in another session, so that transactions overlap.
insert into everything values (
  2, -32768, 2147483647, 1.1, 2.5e-300, -1234567890.12, 12.3450, true, 'Ann "A" Müller', 'x',
  '1b4e28ba-2fa1-11d2-883f-0016d3cca427', '\x00ff10', B'101010101', 'so-so', '{"a": [1, null]}',
  '2026-01-31', '10:00:00.123456', '10:00:00.123', '10:00:00+02', '2026-01-31 10:00:00.123456',
  '2026-01-31 10:00:00.123', '2026-01-31 10:00:00.123456+02', '1 year 2 days 00:00:03.5',
  array['a', null, 'ü'], array[1, -2], '192.0.2.1');
insert into everything (id, price, rate, day, wakes, seen, name) values (
  3, 0, 99999999999999999999999999999999999999, '0001-01-01', '00:00', '0001-01-01 00:00:00', '');
update everything set price = 0.01, rate = -0.0001, day = '9999-12-31',
  seen = '9999-12-31 23:59:59.999999' where id = 3;
-- Nothing of ours can hold these.
insert into everything (id, real8) values (4, 'NaN');
insert into everything (id, seen) values (5, 'infinity');
insert into everything (id, wakes) values (6, '24:00');
insert into everything (id, rate) values (7, 1e38);
update everything set id = 20 where id = 2;
delete from everything where id = 1;
begin;
insert into orders values (3, 2, 'one'), (4, 2, 'two'), (5, 2, 'three');
update orders set note = 'changed' where id = 3;
update everything set name = 'in one transaction' where id = 20;
delete from orders where id = 1;
commit;
-- The first of these two begins first and commits last.
begin;
insert into orders values (6, 6, 'opened first');
\! psql -q -c "insert into orders values (7, 7, 'committed first')"
insert into orders values (8, 6, 'committed last');
commit;
insert into long_values select 1, 0, repeat('note ', 500), decode(repeat('00ff', 1500), 'hex'),
  array_agg('tag ' || n), array_agg(n), array_agg(n::bigint),
  array_agg(('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid),
  jsonb_build_object('text', repeat('json ', 500)) from generate_series(1, 600) n;
update long_values set counter = 1;
update long_values set id = 2;
insert into whole_before values (1, 'before');
update whole_before set note = 'after';
delete from whole_before;
alter table orders add column added integer default 5;
insert into orders values (9, 9, 'with another column', 9);
alter table orders drop column note;
insert into orders values (10, 10, 10);
truncate orders;
insert into orders values (11, 11, 11);
