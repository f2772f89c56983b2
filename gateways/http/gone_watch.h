#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>

namespace sluice::gateways {

// Tells when a connection's client has closed its side, while nobody reads from it. It takes
// nothing off the socket. Used on the connection's I/O thread; held by a shared_ptr, because a wait
// outlives its connection by a moment.
class GoneWatch : public std::enable_shared_from_this<GoneWatch> {
 public:
  explicit GoneWatch(boost::asio::ip::tcp::socket& socket) : socket_(&socket) {}

  // Whom to tell, once; empty: nobody.
  void Set(std::function<void()> gone);
  // The socket is about to go.
  void Detach() { socket_ = nullptr; }

 private:
  void Wait();
  void WaitAWhile();
  void Look();

  boost::asio::ip::tcp::socket* socket_;
  std::function<void()> gone_;
  std::optional<boost::asio::steady_timer> timer_;  // only where there is something to read
  bool waiting_ = false;
};

}  // namespace sluice::gateways
