#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "projectors/model/org_model.h"
#include "tests/support/change_events.h"

namespace sluice::projectors {

using ModelPtr = std::shared_ptr<const OrgModel>;

inline constexpr auto kAll = v1::RULE_KIND_ALL;
inline constexpr auto kUser = v1::RULE_KIND_USER;
inline constexpr auto kTeam = v1::RULE_KIND_TEAM;
inline constexpr auto kUnit = v1::RULE_KIND_BUSINESS_UNIT;

// Owned by all three.
inline v1::EntityDefined Account(uint32_t id = 1) {
  return testing::DefineEntity(id, "account",
                               {{1, "accountid"},
                                {2, "ownerid"},
                                {3, "team"},
                                {4, "unit", v1::ATTRIBUTE_TYPE_UUID},
                                {5, "revenue", v1::ATTRIBUTE_TYPE_DECIMAL}},
                               2, 3, 4);
}

// The model with what a control event says, which it takes.
inline ModelPtr After(const ModelPtr& model, const google::protobuf::Message& control) {
  const auto next = model->Apply(testing::MakeEvent(1, control).event);
  EXPECT_TRUE(next.ok()) << next.status();
  return next.ok() ? *next : model;
}

}  // namespace sluice::projectors
