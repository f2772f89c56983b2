#include "gateways/http/admit_request.h"

#include "gateways/http/authenticate.h"
#include "gateways/http/request_owner.h"

namespace sluice::gateways {

// In this order: what the connection costs is its owner's before anything else is done for it; who
// has no right learns nothing of the log, not even that its history is in doubt; and nothing of a
// body is read before its sender is known to be allowed what it asks for. The token is checked this
// once: handlers look at when it ends.
boost::asio::awaitable<absl::StatusOr<HttpBody>> AdmitRequest(
    HttpConnection& connection, const HttpHead& head, Authenticator& authenticator,
    const Clock& clock, const MayAsk& may_ask, size_t body_bytes_max) {
  const absl::StatusOr<std::shared_ptr<const Principal>> caller =
      co_await Authenticate(authenticator, head);
  if (!caller.ok()) {
    co_return caller.status();
  }
  if (absl::Status known = connection.SetKnown(OwnerOf(**caller)); !known.ok()) {
    co_return known;
  }
  if (absl::Status may = may_ask(*caller); !may.ok()) {
    co_return may;
  }
  if (body_bytes_max == 0 || !head.has_body()) {
    co_return HttpBody();
  }
  absl::StatusOr<HttpBody> body = co_await connection.ReadWholeBody(head, body_bytes_max);
  if (!body.ok()) {
    co_return body;
  }
  // A body may take its time, and a token's may be over.
  if (absl::Status good = RequireUnexpired(**caller, clock.Now()); !good.ok()) {
    co_return good;
  }
  co_return body;
}

}  // namespace sluice::gateways
