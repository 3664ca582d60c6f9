"""Tests of the image, the chart, the rules, the dashboard and the wheel; their tools have a separate environment."""
