-- Gives each of many new readers an empty timeline that is complete to the first post. Leaves a built one as it is.
-- KEYS[1] the prefix of the keys    ARGV readers ('1,2,3')
-- Returns how many were made, in a list.

local prefix, made = prefix(), 0
for reader in string.gmatch(ARGV[1], '%d+') do
  local key = key_of(prefix, reader)
  if not cover_of(mark_of(key)) then
    call('DEL', key)
    call('RPUSH', key, 'c:0:' .. reign)
    made = made + 1
  end
end
return {made}
