#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/support/broker/test_broker.h"

namespace sluice::testing {

// One broker for all tests of a program:
//
//   const auto* const kBroker = BrokerEnvironment::Register();
//   ... kBroker->brokers() ...
class BrokerEnvironment final : public ::testing::Environment {
 public:
  // Before main(); GoogleTest owns it.
  static const BrokerEnvironment* Register() {
    auto environment = std::make_unique<BrokerEnvironment>();
    const BrokerEnvironment* registered = environment.get();
    ::testing::AddGlobalTestEnvironment(environment.release());
    return registered;
  }

  void SetUp() override {
    auto started = TestBroker::Shared();
    ASSERT_TRUE(started.ok()) << started.status();
    broker_ = std::move(started).value();
  }
  void TearDown() override { broker_.reset(); }

  const std::string& brokers() const { return broker_->brokers(); }

 private:
  std::unique_ptr<TestBroker> broker_;
};

}  // namespace sluice::testing
