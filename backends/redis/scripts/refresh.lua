-- Starts the time to live of threads anew. ARGV: ids.
for i = 3, #ARGV do
  local id = ARGV[i]
  refresh(id, chain_of(id), count_slots(id) > 0)
end
tidy()
