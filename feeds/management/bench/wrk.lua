-- For wrk: each request bears the next of several tokens; with a body it is a POST.
-- Arguments: body (may be empty), token, token ...

local requests, at = {}, 0

function init(args)
  local body = args[1] ~= '' and args[1] or nil
  for i = 2, #args do
    local headers = {['Authorization'] = 'Bearer ' .. args[i]}
    if body then headers['Content-Type'] = 'application/x-www-form-urlencoded' end
    requests[i - 1] = wrk.format(body and 'POST' or 'GET', nil, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
