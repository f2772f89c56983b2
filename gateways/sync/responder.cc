#include "gateways/sync/responder.h"

#include "gateways/sync/accept.h"

namespace sluice::gateways {

net::awaitable<bool> Responder::Respond(const HttpRequest&, const HttpResponse& response) {
  co_return co_await http_.Respond(head_, response);
}

net::awaitable<bool> Responder::StartStream(
    const HttpRequest&, std::string_view content_type,
    std::vector<std::pair<std::string, std::string>> headers) {
  HttpResponse response;
  response.content_type = content_type;
  response.headers = std::move(headers);
  co_return co_await http_.StartStream(head_, response);
}

net::awaitable<bool> Responder::SendChunk(std::string_view data) {
  co_return co_await http_.SendChunk(data);
}

net::awaitable<bool> Responder::EndStream() { co_return co_await http_.EndStream(); }

HttpRequest ToSyncRequest(const HttpHead& head) {
  HttpRequest request;
  request.method = head.method;
  request.target = ParseTarget(head.query.empty() ? head.path : head.path + "?" + head.query);
  request.format = FormatFor(head.HeaderList("Accept"));
  request.request_id = head.request_id;
  request.head = head.head_only();
  request.keep_alive = head.keep_alive;
  request.http11 = head.http11;
  return request;
}

}  // namespace sluice::gateways
