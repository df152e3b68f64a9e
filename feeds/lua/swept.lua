-- Says that no timeline of another reign is left; nothing if it is another one by now.
-- KEYS[1] the reign that was swept    ARGV the reign during the sweep ('': only asks)
-- Returns 1 if this reign is swept.

if ARGV[1] == reign then call('SET', KEYS[1], reign) end
return call('GET', KEYS[1]) == reign and 1 or 0
