-- How many threads have slots, and how many ids are linked.
return {
  redis.call('ZCOUNT', THREADS, integer(now), '+inf'),
  redis.call('ZCOUNT', LINKS, integer(now), '+inf'),
}
