// A host of MCP Apps: the reference bridge around one card. What the card asks for goes to the page's program.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

window.show = async (html, input) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  document.body.replaceChildren(frame);
  const capabilities = { serverTools: {}, serverResources: {} };
  const bridge = new AppBridge(null, { name: "card-host", version: "1" }, capabilities);
  bridge.oncalltool = (params) => window.callTool(params.name, params.arguments ?? {});
  bridge.onreadresource = (params) => window.readResource(params.uri);
  bridge.onsizechange = ({ height }) => { window.height = height; };
  const ready = new Promise((resolve) => { bridge.oninitialized = resolve; });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html;
  await ready;
  await bridge.sendToolInput({ arguments: input });
  window.bridge = bridge;
};
window.result = (result) => window.bridge.sendToolResult(result);
